"""What every Plimsoll service needs and has no business noun."""
