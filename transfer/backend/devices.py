"""What Keras computes on; imports no Keras before it is asked."""


def device_name() -> str:
    """Backend and device, such as `tensorflow, CPU` or `jax, 2 x GPU`."""
    import keras

    backend, devices = keras.backend.backend(), accelerators()
    if not devices:
        return f"{backend}, CPU"
    kind = devices[0].split(":")[0].upper()
    return f"{backend}, {kind}" if len(devices) == 1 else f"{backend}, {len(devices)} x {kind}"


def has_accelerator() -> bool:
    """Whether Keras computes on something else than the CPU."""
    return bool(accelerators())


def accelerators() -> list[str]:
    """Names of what is no CPU, such as `gpu:0`.

    `keras.distribution.list_devices` is not asked: on PyTorch there is none, and on JAX it raises
    where there is no device of the kind.
    """
    import keras

    match keras.backend.backend():
        case "tensorflow":
            from tensorflow import config

            kinds = ("GPU", "TPU")
            found = [device for kind in kinds for device in config.list_logical_devices(kind)]
            return [device.name.removeprefix("/device:").lower() for device in found]
        case "jax":
            import jax

            devices = jax.local_devices()
            return [f"{one.platform}:{one.id}" for one in devices if one.platform != "cpu"]
        case _:
            from torch import cuda

            return [f"gpu:{index}" for index in range(cuda.device_count())]
