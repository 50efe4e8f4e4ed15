"""What steps share about models: logging, candidates, promotion."""
