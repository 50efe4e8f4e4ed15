"""The thread pools of the libraries that are loaded when this is first imported.

Looking for them takes 50 ms: a module, so that workers have it from the process they are forked from.
"""

from threadpoolctl import ThreadpoolController

POOLS = ThreadpoolController()
