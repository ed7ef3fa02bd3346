"""How fast Earmark is: streams a core, delay, the model's step, memory, a GPU, and what others need in the same run.

Never imported at run time but by its own command, ``earmark bench``.
"""
