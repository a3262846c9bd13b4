"""What is computed: PaLM, Gopher, RETRO and the frozen BERT. Knows nothing outside itself.

`families.py` goes from a name such as `palm/8b` to a configuration and from a configuration to a
`decoder.Model`.
"""
