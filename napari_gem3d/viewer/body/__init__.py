"""The patient's body: found, shown, corrected; and a brain taken out of its head when that is asked for."""
