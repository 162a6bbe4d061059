"""The cleanup: rules, what they keep, the plan, and the deletion in short transactions."""
