"""A shop that is deployed in several versions: contracts, checked against releases, as imported code."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from typing import Any, TypeAlias

from tests.versioning.schema import HEADER, ROOT, WELL_KNOWN, protoc

from protopact import workflow
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.lock import Lock
from protopact_codegen.versioning.sources import from_input

Service: TypeAlias = Any  # generated while the tests run

V1 = (
    HEADER
    + """
service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};
  rpc Buy(BuyRequest) returns (BuyResponse) {
    option (protopact.v1.method).workflow = {id: "buy/{item}" signal: {ref: "Pay" start: true} query: {ref: "Paid"}};
  }
  rpc Sell(SellRequest) returns (SellResponse) { option (protopact.v1.method).workflow = {id: "sell/{item}"}; }
  rpc Pay(PayRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {}; }
  rpc Paid(PaidRequest) returns (PaidResponse) { option (protopact.v1.method).query = {}; }
}
message BuyRequest {
  string item = 1;
}
message BuyResponse { string receipt = 1; }
message SellRequest { string item = 1; int32 rounds = 2; }
message SellResponse { string receipt = 1; }
message PayRequest { string coin = 1; }
message PaidRequest {}
message PaidResponse { string coins = 1; }
"""
)
V2 = V1.replace("string item = 1;\n", "string item = 1;\n  int32 count = 2;\n", 1)
V3 = V2.replace("int32 count = 2;\n", "int32 count = 2;\n  string color = 3;\n", 1)

_numbers = itertools.count()


class Shop:
    """A folder with a lock, and code that was generated there.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "protopact.lock"

    def cut(self, name: str, contract: str) -> None:
        """Cut a release."""
        Lock(self.lock).cut(name, capture(from_input(str(self._image(contract)))))

    def retire(self, name: str) -> None:
        """Retire a release."""
        Lock(self.lock).retire(name, "it is over")

    def generate(self, contract: str, *, checked: bool = True) -> Service:
        """Generate code, checked against the releases of the lock or without it, and import its service."""
        package = f"deployed_{next(_numbers)}"
        out = self.folder / package
        out.mkdir()
        (out / "__init__.py").touch()
        self._compile(
            contract,
            f"--python_betterproto2_out={out}",
            "--python_betterproto2_opt=client_generation=none",
            f"--protopact_out={out}",
            *([f"--protopact_opt=lock={self.lock}"] if checked else []),
        )
        sys.path.insert(0, str(self.folder))
        try:
            return importlib.import_module(f"{package}.shop.v1.shop_protopact").ShopService
        finally:
            sys.path.remove(str(self.folder))

    def _image(self, contract: str) -> Path:
        image = self.folder / "shop.binpb"
        self._compile(contract, f"--descriptor_set_out={image}", "--include_imports", "--include_source_info")
        return image

    def _compile(self, contract: str, *outputs: str) -> None:
        path = self.folder / "shop/v1/shop.proto"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contract)
        scripts = Path(sys.executable).parent
        plugins = [f"--plugin={scripts / name}" for name in ("protoc-gen-python_betterproto2", "protoc-gen-protopact")]
        includes = [f"--proto_path={self.folder}", f"--proto_path={ROOT / 'runtime'}", f"--proto_path={WELL_KNOWN}"]
        protoc(*plugins, *includes, *outputs, "shop/v1/shop.proto")


def message(element: Any, **fields: object) -> Any:  # noqa: ANN401 - of a class that is generated while the tests run
    """A request of an element of the contract."""
    return element.request.type(**fields)


def workflows(shop: Service) -> list[type]:
    """The workers' code, on one version's contract: buys what is paid for, and sells it after some rounds."""
    buy, sell = shop.Buy.__protopact__(), shop.Sell.__protopact__()

    class Buy(shop.Buy):  # type: ignore[misc]  # generated while the tests run
        def __init__(self) -> None:
            self.coins = ""

        async def run(self, request: Any) -> Any:  # noqa: ANN401 - as above
            payment = await self.pay.receive()
            self.coins += payment.coin
            return buy.response.type(receipt=f"{request.item} for {self.coins}")

        def paid(self, request: Any) -> Any:  # noqa: ANN401 - as above
            return buy.queries[0].response.type(coins=self.coins)

    class Sell(shop.Sell):  # type: ignore[misc]  # as above
        async def run(self, request: Any) -> Any:  # noqa: ANN401 - as above
            if request.rounds:
                kept = workflow.memo()
                again = message(sell, item=request.item, rounds=request.rounds - 1)
                self.continue_as_new(again, memo={**kept, "left": str(request.rounds)})
            bought = await shop.Buy.execute_child(message(buy, item=request.item), id=f"child-{request.item}")
            return sell.response.type(receipt=bought.receipt)

    return [Buy, Sell]


def buying(shop: Service, item: str) -> Any:  # noqa: ANN401 - as above
    """A request to buy."""
    return message(shop.Buy.__protopact__(), item=item)


def paying(shop: Service, coin: str) -> Any:  # noqa: ANN401 - as above
    """A payment."""
    return message(shop.Buy.__protopact__().signals[0].signal, coin=coin)


def selling(shop: Service, item: str, rounds: int = 0) -> Any:  # noqa: ANN401 - as above
    """A request to sell."""
    return message(shop.Sell.__protopact__(), item=item, rounds=rounds)
