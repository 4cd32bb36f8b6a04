"""Erasing what unlearning suppressed: noise in the weights, then distillation from a filtered teacher."""
