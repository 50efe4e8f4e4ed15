"""What steps share about models: logging, card, candidates, promotion."""
