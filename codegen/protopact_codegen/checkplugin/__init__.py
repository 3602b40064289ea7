"""The check as a plugin of buf: `buf lint` and `buf breaking` run it and show what it finds as theirs."""
