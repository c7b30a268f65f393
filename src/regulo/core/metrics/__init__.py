"""One file per metric of the predictions on a split. `result.json`, the summary, the report and studies take it from here."""
