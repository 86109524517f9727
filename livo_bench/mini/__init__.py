"""The miniature world: cartoon pictures, and real models that were trained on them.

Its attribute names are names of palettes and hair shapes of cartoon figures. Its numbers say
nothing about Stable Diffusion or about people.
"""
