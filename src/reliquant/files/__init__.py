"""What is written whole, read checked against its digest, and never larger than its declared bounds."""
