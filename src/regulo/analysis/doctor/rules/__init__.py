"""One file per rule; `regulo.analysis.doctor.examination` finds them in this folder."""
