"""The four steps of the panel, a file each; they show the state, change it, and call the workbench."""
