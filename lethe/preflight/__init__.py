"""What can be known before the first stage runs: parameters, memory, time, the machine."""
