"""The side of people and programs: answers over HTTP, evidence for decisions, files of claims."""
