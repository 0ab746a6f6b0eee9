"""From the packets of an unbroken session to records with their UTC."""
