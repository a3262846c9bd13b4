"""What is found? Four rooms, one above the other: `index/` searches keys, `keys/` makes them from `chunks`,
`neighbours/` keeps what is nearest to every chunk of a corpus, `database/` does so for text that changes.
"""
