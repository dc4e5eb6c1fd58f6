"""What a run leaves for people: its history, a report to look at, a card, and other tools' logs.

`history` gathers while the run goes; `record` is all that the report is made of; `html` makes the
page, `files` puts everything into the model's folder.
"""
