"""Tools for the lesions of a mask: previewed while their numbers change, then written in one undo step."""
