"""The release gate: whether the unlearned model meets every criterion, judged against how retrained models differ."""
