"""torch-fidelity's side of `cargo xtask bench --peers torch-fidelity`: `peer.py FOLDER THREADS BATCH`.

Prints its metrics of `samples.npz` against `real.npz`, and the seconds that they took without the start of Python, as a line of JSON. Precision and
recall are also computed by its own function from its features as f64: in f32 `torch.cdist` loses the digits of distances that are small
beside the features, as those of the formula's weights are.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch_fidelity
from torch_fidelity import metric_prc


class Images(torch.utils.data.Dataset):
    def __init__(self, path: Path) -> None:
        self.levels = torch.from_numpy(np.load(path)["arr_0"]).permute(0, 3, 1, 2).contiguous()

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.levels[index]


def keep_features(kept: list) -> None:
    """Lets torch-fidelity's function leave its arguments in `kept`."""
    measure = metric_prc.prc_features_to_metric

    def keeping(features_1: torch.Tensor, features_2: torch.Tensor, **kwargs: object) -> dict:
        kept.append((features_1, features_2, kwargs))
        return measure(features_1, features_2, **kwargs)

    metric_prc.prc_features_to_metric = keeping


def main() -> None:
    folder, threads, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    kept: list = []
    keep_features(kept)
    start = time.perf_counter()
    found = torch_fidelity.calculate_metrics(
        input1=Images(folder / "samples.npz"),
        input2=Images(folder / "real.npz"),
        cuda=False,
        batch_size=batch,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        # Its default for precision and recall is another network.
        feature_extractor="inception-v3-compat",
        feature_layer_prc="2048",
        cache=False,
        verbose=False,
        feature_extractor_weights_path=str(folder / "weights.pth"),
    )
    seconds = time.perf_counter() - start
    [(features_1, features_2, kwargs)] = kept
    exact = metric_prc.prc_features_to_metric(features_1.double(), features_2.double(), **kwargs)
    found.update({f"{key}_f64": exact[key] for key in ("precision", "recall")})
    about = f"torch-fidelity {version('torch-fidelity')}, torch {torch.__version__}"
    print(json.dumps({"seconds": seconds, "version": about, **{key: float(value) for key, value in found.items()}}))


if __name__ == "__main__":
    main()
