"""Studies with people: trials, their responses, exact tests."""
