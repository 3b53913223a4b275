"""Its being here keeps the modules beside it importable from the folders below."""
