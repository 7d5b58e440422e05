def run_steps(seed, number, steps):
    return steps, 0, []
