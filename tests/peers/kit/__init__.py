"""What the peers share: bringing programs, running them, and a Waybill to run them against."""
