"""Studies: several runs with a question, as one command that can be continued."""
