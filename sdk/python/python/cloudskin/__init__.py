"""CloudSkin for Python. Start at :mod:`cloudskin.geds`."""
