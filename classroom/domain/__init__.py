"""The rules as pure functions of frozen values: standard library only, time and policy are arguments."""
