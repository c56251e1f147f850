"""One page from what runs, evaluations and trainings have left in their folders."""
