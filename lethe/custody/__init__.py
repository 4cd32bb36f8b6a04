"""What a certificate states, for how long it holds, and the page that shows it to a person."""
