"""From YAML files to the settings of every job."""
