"""What the machine's sensors say: temperatures, clocks, power rails, loads. One thread reads each in one place."""
