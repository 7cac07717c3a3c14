//! Eigenvalues and eigenvectors of a small symmetric matrix, by Jacobi's rotations: always the same
//! bits, and no library.

/// A square matrix by rows.
pub(super) type Matrix = Vec<Vec<f64>>;

/// Sweeps over all pairs; a dozen are enough for any matrix in practice.
const SWEEPS: usize = 50;

/// Gives the eigenvalues, in no order, and the eigenvectors as the columns of a matrix.
pub(super) fn decomposed(mut matrix: Matrix) -> (Vec<f64>, Matrix) {
    let count = matrix.len();
    let mut vectors = identity(count);
    for _ in 0..SWEEPS {
        let mut is_diagonal = true;
        for p in 0..count {
            for q in p + 1..count {
                let scale = (matrix[p][p].abs() * matrix[q][q].abs()).sqrt();
                if matrix[p][q].abs() <= f64::EPSILON * 1e-2 * scale {
                    continue;
                }
                is_diagonal = false;
                rotate(&mut matrix, &mut vectors, p, q);
            }
        }
        if is_diagonal {
            break;
        }
    }
    ((0..count).map(|place| matrix[place][place]).collect(), vectors)
}

/// Gives the matrix that changes nothing.
pub(super) fn identity(count: usize) -> Matrix {
    (0..count).map(|row| (0..count).map(|column| f64::from(row == column)).collect()).collect()
}

/// Turns the axes `p` and `q` so that their entry off the diagonal becomes 0.
fn rotate(matrix: &mut Matrix, vectors: &mut Matrix, p: usize, q: usize) {
    let slant = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
    // The smaller of the two angles; of a vast slant the square would overflow.
    let tangent = if slant.abs() > 1e150 {
        1.0 / (2.0 * slant)
    } else {
        slant.signum() / (slant.abs() + (slant * slant + 1.0).sqrt())
    };
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    let turn = |row: &mut Vec<f64>| {
        let (at_p, at_q) = (row[p], row[q]);
        (row[p], row[q]) = (cosine * at_p - sine * at_q, sine * at_p + cosine * at_q);
    };
    matrix.iter_mut().for_each(turn);
    let (above, below) = matrix.split_at_mut(q);
    for (p, q) in above[p].iter_mut().zip(&mut below[0]) {
        (*p, *q) = (cosine * *p - sine * *q, sine * *p + cosine * *q);
    }
    (matrix[p][q], matrix[q][p]) = (0.0, 0.0);
    vectors.iter_mut().for_each(turn);
}
