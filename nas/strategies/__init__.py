"""The strategies by the names that the command line gives them, each with its defaults."""

from nas.strategies.base import Strategy
from nas.strategies.darts import DARTS
from nas.strategies.drnas import DrNAS
from nas.strategies.evolution import Evolution
from nas.strategies.fair_darts import FairDARTS
from nas.strategies.gdas import GDAS
from nas.strategies.nni.strategies import NNIMultiTrial, NNIOneShot
from nas.strategies.optuna_search import OptunaSearch
from nas.strategies.pc_darts import PCDARTS
from nas.strategies.proxy_search import ProxySearch
from nas.strategies.random_search import RandomSearch
from nas.strategies.reinforce import Reinforce
from nas.strategies.single_path import SinglePath
from nas.strategies.smooth_darts import SmoothDARTS

STRATEGIES: dict[str, Strategy] = {
    "darts": DARTS(),
    "pc_darts": PCDARTS(),
    "gdas": GDAS(),
    "fair_darts": FairDARTS(),
    "drnas": DrNAS(),
    "smooth_darts": SmoothDARTS(),
    "random": RandomSearch(),
    "evolution": Evolution(),
    "reinforce": Reinforce(),
    "proxy": ProxySearch(),
    "single_path": SinglePath(),
    "tpe": OptunaSearch(sampler="tpe"),
    "gp": OptunaSearch(sampler="gp"),
    "nsga2": OptunaSearch(sampler="nsga2"),
    "nni:DARTS": NNIOneShot(algorithm="DARTS"),
    "nni:GumbelDARTS": NNIOneShot(algorithm="GumbelDARTS"),
    "nni:Proxyless": NNIOneShot(algorithm="Proxyless"),
    "nni:RandomOneShot": NNIOneShot(algorithm="RandomOneShot"),
    "nni:ENAS": NNIOneShot(algorithm="ENAS"),
    "nni:Random": NNIMultiTrial(algorithm="Random"),
    "nni:GridSearch": NNIMultiTrial(algorithm="GridSearch"),
    "nni:RegularizedEvolution": NNIMultiTrial(algorithm="RegularizedEvolution"),
    "nni:TPE": NNIMultiTrial(algorithm="TPE"),
    "nni:PolicyBasedRL": NNIMultiTrial(algorithm="PolicyBasedRL"),
}
