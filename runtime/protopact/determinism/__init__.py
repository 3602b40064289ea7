"""What workflow code may not call, and the two nets that find it: at run time, and by reading the code."""
