"""Use cases, one a file: what each verb does, wired from the floors below."""
