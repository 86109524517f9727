"""Readers under attack: generated damage, counted."""

from attack.attack import COUNTS as COUNTS
from attack.attack import STRINGS as STRINGS
from attack.attack import Outcome as Outcome
from attack.attack import as_json as as_json
from attack.attack import changed_table as changed_table
from attack.attack import damaged as damaged
from attack.attack import mutated as mutated
from attack.attack import mutated_toml as mutated_toml
from attack.attack import string as string
from attack.attack import survive as survive
