from accounts import erasure as accounts_erasure
from pipelines import erasure

accounts_erasure.register("pipelines", erasure.erase, owned=erasure.owned)
