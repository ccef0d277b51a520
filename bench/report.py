"""docs/PERFORMANCE.md out of the results of benchmark.py."""

import statistics

NAMES = {"unet6m": "U-Net, 5.9 M, 32 px", "ncsnpp": "NCSN++, 62.7 M, 64 px", "quickstart": "quickstart's U-Net, 0.5 M, 28 px"}
UNITS = {"train": "training step", "infer": "inference step", "sample": "sampling, NFE {steps}"}


def ratios(row, name):
    return [theirs / ours for theirs, ours in zip(row["seconds"][name], row["seconds"]["sdpipe"])]


def ratio_text(row, name):
    """Median (least to most)."""
    if name not in row["seconds"]:
        return ""
    values = ratios(row, name)
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def seconds_text(value):
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def table(head, rows):
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


def label(name, row):
    network, unit = name.split(".")
    return [NAMES[network], UNITS[unit].format(**row), str(row["batch"])]


def float32_table(rows):
    head = ["network", "what", "batch", "sdpipe", "PyTorch eager / sdpipe", "torch.compile / sdpipe"]
    cells = [label(name, row) + [seconds_text(statistics.median(row["seconds"]["sdpipe"])), ratio_text(row, "eager"),
                                 ratio_text(row, "compile")] for name, row in rows.items()]
    return table(head, cells)


def bfloat16_table(rows):
    head = ["network", "what", "batch", "sdpipe in bfloat16", "sdpipe in float32 / that", "PyTorch eager in bfloat16 / that",
            "torch.compile in bfloat16 / that"]
    cells = []
    for name, row in rows.items():
        if "sdpipe+bfloat16" not in row["seconds"]:
            continue
        seconds = {"sdpipe": row["seconds"]["sdpipe+bfloat16"], "float32": row["seconds"]["sdpipe"]}
        seconds |= {k: v for k, v in row["seconds"].items() if k.endswith("+bfloat16") and k != "sdpipe+bfloat16"}
        narrow = {"seconds": seconds}
        cells.append(label(name, row) + [seconds_text(statistics.median(seconds["sdpipe"])), ratio_text(narrow, "float32"),
                                         ratio_text(narrow, "eager+bfloat16"), ratio_text(narrow, "compile+bfloat16")])
    return table(head, cells) if cells else ""


def column_table(rows, key, text, contestants):
    head = ["network", "what", "batch", *contestants.values()]
    cells = [label(name, row) + [text(row[key][c]) if c in row[key] else "" for c in contestants]
             for name, row in rows.items()]
    return table(head, cells)


def document(results):
    rows, machine = results["rows"], results["machine"]
    order = [f"{network}.{unit}" for network in NAMES for unit in UNITS]
    rows = {name: rows[name] for name in order if name in rows}
    contestants = {"sdpipe": "sdpipe", "eager": "PyTorch eager", "compile": "torch.compile"}
    threads = sorted({row["threads"] for row in rows.values()})
    dates = sorted({row["date"] for row in rows.values()})
    differences = [[NAMES[n], *(f"{v:.1e}" for v in d.values())] for n, d in results["differences"].items()]
    heads = ["network", *next(iter(results["differences"].values()))]
    narrow = bfloat16_table(rows)
    start = results["start_up"]
    parts = [
        "# Performance\n\nWritten by `./script/benchmark`; figures are of this machine and of nothing else:\n",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['vector']}; PyTorch {machine['torch']}, Python "
        f"{machine['python']}; threads: {', '.join(map(str, threads))}; measured {' and '.join({dates[0]: 0, dates[-1]: 0})}.\n",
        "Both sides have the same network, weights, batch and number of threads, and the same LibTorch below them. They "
        "are processes of their own that compute in turn, a block of one to two seconds each; a ratio is PyTorch's time "
        "over sdpipe's in the same round, given as median (least to most) over the rounds: above 1, sdpipe is faster. A "
        "training step is loading a batch, drawing t and noise, forward, loss, backward, clipping, Adam and the moving "
        "average; PyTorch's has fused Adam and foreach clipping and averaging. Networks are contiguous there, in the "
        "form their authors published them (bench/*.py).\n",
        "## float32\n",
        float32_table(rows),
        *(["## bfloat16\n", "Of PyTorch: autocast while training, parameters in bfloat16 and autocast at inference.\n",
           narrow] if narrow else []),
        "## Peak memory\n",
        "Of the whole process, in MiB, interpreter and libraries included.\n",
        column_table(rows, "peak_mib", lambda v: f"{v:.0f}", contestants),
        "## Start-up\n",
        f"`sdpipe --version`: {seconds_text(start['sdpipe'])}; `python -c \"import torch\"`: "
        f"{seconds_text(start['pytorch'])}. From the start of the process to the end of its first unit, weights loaded "
        "and compiled where that is done:\n",
        column_table(rows, "first", seconds_text, contestants),
        "## Agreement\n",
        "Before anything is timed, outputs and gradients of both sides are compared on random weights (relative "
        "difference in Euclidean norm, float32); above 1e-3 nothing is timed.\n",
        table(heads, differences),
    ]
    return "\n".join(parts)
