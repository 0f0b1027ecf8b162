"""Datasets, collators, masks and attention for PyTorch; needs the extra `ismpack[torch]`."""
