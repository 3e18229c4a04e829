"""Review campaigns: owners confirm or expire each of their live tokens by a date. The unconfirmed expire then.

`planning.py`: planning and canceling a campaign. `starting.py`: it starts, with one item for each live token.
`telling.py` and `mails.py`: people are asked, and warned before the end. `answering.py`: what people answer.
`closing.py`: what happens at the end. `record.py`: the record as a file, with its digest. `running.py`: the worker's
job, which calls these.

The page "Access review" (`tokens/access_review.py`) is something else: it lists who has which live tokens now.
"""
