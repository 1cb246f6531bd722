r"""Training of forecasters, away from every device: the only room that knows JAX (extra `train`).

```
CSV files, labelled streams, a fleet's readings -> series -> windows -> fit (JAX) -> weights -> file
```
What a trained network says is computed by `iotistic.detection`, with numpy alone.
"""
