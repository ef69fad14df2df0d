"""The plan room: settings chosen for the model, the data and the machine, with reasons."""
