"""Commands that are run as ``python script/<name>.py``."""
