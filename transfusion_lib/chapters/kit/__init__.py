"""What several chapters share: studies, tables and figures."""
