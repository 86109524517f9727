"""Who does the blocks of a run: this process, or several that know its command."""
