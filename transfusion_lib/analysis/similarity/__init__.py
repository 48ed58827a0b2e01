"""How alike are two layers? Measures on activations of the same samples, (n, d_x) and (n, d_y).

| measure    | 1 means                         | unchanged by shifts, and                                     |
|------------|---------------------------------|--------------------------------------------------------------|
| cca        | the same space of functions     | any invertible linear map of either side                     |
| svcca      | the same leading space          | rotations, one scale for all neurons, of either side         |
| pwcca      | x's share of y's space is whole | y: any invertible linear map; x: permutations, one scale     |
| cka        | equal up to rotation and scale  | rotations, one scale for all neurons, of either side         |
| procrustes | equal up to rotation and scale  | rotations, one scale for all neurons, of either side         |

All are similarities: larger is more alike, 1 is the most (debiased CKA alone can be slightly negative). All but
PWCCA are symmetric. Independent data do **not** give 0: every result holds ``floor``, what independent data of the
same size and spectrum would give, to be drawn beside it. It takes samples as independent; positions of one image are
not, so for convolutional maps the true floor is higher, and pairs of unrelated images give it (``activations``).

Linear algebra is done in float64 with an explicit numerical rank: neurons that are constant, dead or combinations
of others add nothing, and a layer with no varying neuron is an error, never NaN. NumPy arrays and tensors are
treated alike; tensors stay on their device. Two ways in:

- activations in memory: ``cca(x, y)``; ``factor`` a layer once to compare it with many others;
- activations that never fit: ``Moments`` takes chunks of any number of layers in one pass, at O(d^2) memory.

Knows only arrays.
"""

from transfusion_lib.analysis.similarity.measures import Factor as Factor
from transfusion_lib.analysis.similarity.measures import cca as cca
from transfusion_lib.analysis.similarity.measures import cka as cka
from transfusion_lib.analysis.similarity.measures import factor as factor
from transfusion_lib.analysis.similarity.measures import procrustes as procrustes
from transfusion_lib.analysis.similarity.measures import pwcca as pwcca
from transfusion_lib.analysis.similarity.measures import svcca as svcca
from transfusion_lib.analysis.similarity.moments import Moments as Moments
from transfusion_lib.analysis.similarity.results import CCA as CCA
from transfusion_lib.analysis.similarity.results import PWCCA as PWCCA
from transfusion_lib.analysis.similarity.results import Similarity as Similarity
from transfusion_lib.analysis.similarity.results import expected_coefficients as expected_coefficients
