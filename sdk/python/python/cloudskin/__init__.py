"""CloudSkin for Python. Start at :mod:`cloudskin.geds`, or at :mod:`cloudskin.agents` for policies."""
