"""Socially enriched, multilingual language models of short posts.

Everything that a notebook needs comes from this one import, and is loaded when it is asked for:
`from twhin_hf import read_log, embed_network, mine_pairs, …`. `__init__.pyi` is the list.
"""

import lazy_loader

from twhin_hf.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
