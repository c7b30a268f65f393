"""One file per rule; `regulo.doctor.examination` discovers them by this folder."""
