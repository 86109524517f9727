"""A made-up method of a user's own, with a variant."""

CARD = """
name = "polite"
title = "Polite"
version = 1
tasks = ["bias"]
told = "nothing"
summary = "Says please."
paper = ""
differences = []
[settings]
word = "please"
[variants.german]
title = "Polite (de)"
word = "bitte"
"""
