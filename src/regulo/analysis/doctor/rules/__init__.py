"""One file per rule; `regulo.analysis.doctor.examination` discovers them by this folder."""
